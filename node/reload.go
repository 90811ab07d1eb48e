package node

import "slices"

// Reload takes up another configuration between two samples, so that no figure
// is lost or moved: interval, energy, and agents except their slice. It returns
// the keys that differ and need a restart; they keep their value until then. A
// configuration that is not valid changes nothing.
func (n *Node) Reload(cfg Config) (restart []string, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n.turn.Lock()
	defer n.turn.Unlock()
	now := *n.cfg.Load()
	restart = needRestart(now, cfg)
	if err := n.meter.Calibrate(cfg.Energy.IdleWatts, cfg.Energy.MaxWatts); err != nil {
		return nil, err
	}
	if err := n.registry.Reload(cfg.Agents); err != nil {
		return nil, err
	}
	was := now
	now.Interval, now.Energy, now.Agents = cfg.Interval, cfg.Energy, cfg.Agents
	now.Energy.Ignore, now.Energy.Board, now.Agents.Slice = was.Energy.Ignore, was.Energy.Board, was.Agents.Slice
	n.cfg.Store(&now)
	select {
	case n.reloaded <- struct{}{}:
	default: // the loop has not yet seen the last one, and will see this
	}
	return restart, nil
}

// needRestart lists the keys that differ and are read only at the start.
func needRestart(now, next Config) (keys []string) {
	for _, k := range []struct {
		key  string
		same bool
	}{
		{"state_dir", now.StateDir == next.StateDir},
		{"socket", now.Socket == next.Socket},
		{"path", now.Path == next.Path},
		{"sensor", now.Sensor == next.Sensor},
		{"energy.ignore", slices.Equal(now.Energy.Ignore, next.Energy.Ignore)},
		{"energy.board", slices.Equal(now.Energy.Board, next.Energy.Board)},
		{"agents.slice", now.Agents.Slice == next.Agents.Slice},
		{"metrics", now.Metrics == next.Metrics},
		{"store", now.Store == next.Store},
	} {
		if !k.same {
			keys = append(keys, k.key)
		}
	}
	return keys
}
