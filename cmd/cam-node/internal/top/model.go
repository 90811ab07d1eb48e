package top

import (
	"context"
	"errors"
	"io"
	"slices"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	// Before Bubble Tea: see there.
	_ "github.com/cam-os/edge/cmd/cam-node/internal/quietterm"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
)

// Terminal runs the interface until the user quits.
func Terminal(ctx context.Context, follow Follow, o Options, host string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The first observation comes before the screen is taken, so that an error
	// is an ordinary line.
	events, failed := make(chan event), make(chan error, 1)
	go func() {
		failed <- watch(ctx, follow, o.Temporary, func(e event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var first event
	select {
	case first = <-events:
	case err := <-failed:
		return err
	}
	if _, err := report.ChooseZone(first.observation.Zones, o.Zone); err != nil {
		return err
	}
	m := newModel(o, host, lipgloss.NewRenderer(out))
	if o.Past != nil {
		m.past.seed(o.Past(ctx, first.observation))
	}
	m.take(first)
	program := tea.NewProgram(m, tea.WithAltScreen(), tea.WithInput(in), tea.WithOutput(out), tea.WithContext(ctx))
	over := make(chan error, 1)
	go func() {
		for {
			select {
			case e := <-events:
				program.Send(e)
			case err := <-failed:
				over <- err
				program.Quit()
				return
			}
		}
	}()
	_, err := program.Run()
	cancel()
	if errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, tea.ErrInterrupted) {
		err = nil
	}
	select {
	case e := <-over:
		if !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
	default:
	}
	return err
}

// model is the interface's state. It does nothing but turn events into text.
type model struct {
	options Options
	host    string
	styles  styles

	width, height int
	scroll        int
	paused        bool
	helping       bool
	notice        string // shown until the next key
	lost          error
	count         int

	latest report.Observation // what is shown
	newest report.Observation // another one while paused
	zone   string
	view   report.View
	past   history
}

func newModel(o Options, host string, r *lipgloss.Renderer) *model {
	r.SetHasDarkBackground(true) // nothing depends on it; never ask the terminal
	m := &model{options: o, host: host, styles: newStyles(r), width: 80, height: 24, past: history{views: report.Views()}}
	m.view = m.past.views[0]
	for _, v := range m.past.views {
		if v.Name == o.View {
			m.view = v
		}
	}
	if m.options.Sort == "" {
		m.options.Sort = m.view.Sorts[0]
	}
	return m
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd {
	if m.done() {
		return tea.Quit
	}
	return nil
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case event:
		m.take(msg)
		if m.done() {
			return m, tea.Quit
		}
	case tea.KeyMsg:
		if msg.Type != tea.KeyRunes {
			return m, m.key(msg.String())
		}
		// Keys that arrive together, from a fast hand or a slow line, are one
		// message.
		var cmd tea.Cmd
		for _, r := range msg.Runes {
			if c := m.key(string(r)); c != nil {
				cmd = c
			}
		}
		return m, cmd
	}
	return m, nil
}

func (m *model) done() bool { return m.options.Iterations > 0 && m.count >= m.options.Iterations }

// take notes what happened. While paused, the screen stands still and the
// curves are remembered.
func (m *model) take(e event) {
	m.lost = e.lost
	if e.lost != nil {
		m.past.gap()
	} else {
		m.count++
		m.past.add(e.observation)
		m.newest = e.observation
	}
	if m.paused {
		m.past.behind++
		return
	}
	m.show(m.newest)
}

func (m *model) show(o report.Observation) {
	m.latest = o
	m.zone = m.options.Zone
	if names := report.ZoneNames(o.Zones); !slices.Contains(names, m.zone) {
		m.zone = report.PrimaryZone(names)
	}
}

func (m *model) key(key string) tea.Cmd {
	m.notice = ""
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "s":
		next := slices.Index(m.view.Sorts, m.options.Sort) + 1 // 0 where it is none of the view's
		m.options.Sort = m.view.Sorts[next%len(m.view.Sorts)]
		m.notice = "by " + string(m.options.Sort)
	case " ", "p":
		m.paused = !m.paused
		if !m.paused {
			m.past.behind = 0
			m.show(m.newest)
		}
	case "?", "h":
		m.helping = !m.helping
	case "z":
		switch names := report.ZoneNames(m.latest.Zones); len(names) {
		case 0:
			m.notice = "no energy zone"
		case 1:
			m.notice = "only one zone"
		default:
			m.zone = names[(slices.Index(names, m.zone)+1)%len(names)]
			m.options.Zone = m.zone
		}
	case "up", "k":
		m.scroll--
	case "down", "j":
		m.scroll++
	case "pgup":
		m.scroll -= 10
	case "pgdown":
		m.scroll += 10
	case "home", "g":
		m.scroll = 0
	}
	for _, v := range m.past.views {
		if v.Key == key && v.Name != m.view.Name {
			m.view, m.options.Sort, m.scroll = v, v.Sorts[0], 0
		}
	}
	m.scroll = max(0, m.scroll)
	return nil
}
