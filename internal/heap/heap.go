// Package heap makes Go's garbage collector run less often while the heap is small.
//
// By default the heap may grow by its live size before the next collection. notepay has some 10 MB of
// live memory and allocates kilobytes for each request, so under load it would collect several times a
// second: a tenth of its processor time.
//
// heap promises that the heap may grow by its live size and BallastSize, also when the live size changes
// suddenly. It does not know how much memory the host has.
package heap

import "os"

// BallastSize is the number of bytes of the ballast. More would save little, and strangers could make
// the process that much larger.
const BallastSize = 8 << 20

// Ballast returns bytes that the collector counts as live until the caller forgets them. Nothing may
// touch them, so that they take addresses and no memory. Ballast returns nil if the operator has set
// GOGC or GOMEMLIMIT.
//
// A percentage that follows the live size would come too late: the heap may grow to a multiple before
// the change of the live size is known.
func Ballast() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, BallastSize)
}
