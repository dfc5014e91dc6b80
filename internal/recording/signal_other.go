//go:build !unix

package recording

// ignoreSizeLimitSignal does nothing, because this system has no such signal.
func ignoreSizeLimitSignal() {}
