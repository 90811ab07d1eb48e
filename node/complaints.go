package node

import (
	"log/slog"
	"time"
)

// complaints keeps a fault that lasts from filling the disk with its own log:
// each kind is logged when it begins, when it changes, once an hour, and when
// it is over.
type complaints struct {
	log *slog.Logger
	now func() time.Time
	of  map[string]complaint
}

type complaint struct {
	text  string
	said  time.Time
	count int
}

const sayAgain = time.Hour

// about takes the outcome of one attempt; nil ends a complaint.
func (c *complaints) about(what string, err error) {
	was, known := c.of[what]
	if err == nil {
		if known {
			c.log.Info(what+" works again", "failures", was.count)
			delete(c.of, what)
		}
		return
	}
	now := c.now()
	is := complaint{text: err.Error(), said: was.said, count: was.count + 1}
	if !known || is.text != was.text && now.Sub(was.said) > time.Minute || now.Sub(was.said) > sayAgain {
		c.log.Error(what, "err", err, "failures", is.count)
		is.said = now
	}
	if c.of == nil {
		c.of = make(map[string]complaint)
	}
	c.of[what] = is
}
