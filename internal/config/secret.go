package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a string that fmt, slog and encoding/json never print. Convert it to a string to use
// it.
type Secret string

const redacted = "[redacted]"

// Format implements fmt.Formatter, because fmt prints the string itself for a verb that does not
// fit a Stringer.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
