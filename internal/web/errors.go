package web

import "errors"

// Answered marks an error whose request was answered in full, so that it is only logged.
type Answered struct{ Err error }

func (a *Answered) Error() string { return a.Err.Error() }
func (a *Answered) Unwrap() error { return a.Err }

// Shown returns the error of a handler that showed a page because of err. shown is the error of
// writing that page, or nil.
func Shown(err, shown error) error {
	if shown != nil {
		return errors.Join(err, shown)
	}
	return &Answered{err}
}
