package people

import (
	"context"
	"time"
)

// Audit names that no person can have.
const (
	// OperatorName is the audit name of an actor who used OPERATOR_TOKEN.
	OperatorName = "operator"
	// TokenPrefix begins the audit name of a named token.
	TokenPrefix = "token "
)

// Actor is the person, or the program, that sends a request.
type Actor struct {
	Name    string // in the audit
	Role    Role
	Person  string    // the person's id; "" for OPERATOR_TOKEN and named tokens
	Session string    // the id of the sign-in; "" for programs
	Since   time.Time // the sign-in; zero for programs
}

// FreshFor is how long a sign-in counts as recent.
const FreshFor = time.Hour

// Fresh reports whether the actor signed in recently.
func (a Actor) Fresh(now time.Time) bool { return !a.Since.IsZero() && now.Sub(a.Since) < FreshFor }

type actorKey struct{}

// With returns a context that carries an actor.
func With(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// From returns the actor of a context. Without one it returns an actor that may do nothing.
func From(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
