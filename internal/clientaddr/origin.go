package clientaddr

import (
	"context"
	"net/http"
)

// originKey is the key of a request's origin in its context.
type originKey struct{}

func withOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns how the address of a request's client was found by Handler.
func OriginOf(r *http.Request) Origin {
	if o, ok := r.Context().Value(originKey{}).(Origin); ok {
		return o
	}
	return Direct
}
