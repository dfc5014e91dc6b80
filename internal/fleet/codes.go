package fleet

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"notepay/internal/uid"
)

// codesMaxAge is how old the index of short codes may be. It is built only when it is used, because
// stickers and typed codes are rare. A new device has its code at most so late.
const codesMaxAge = 10 * time.Second

// shortCodes is the index of the devices by the shortest codes.
type shortCodes struct {
	mu      sync.Mutex
	builtAt time.Time
	devices map[string][]string // UIDs by the first uid.MinCode characters of their codes
}

// sharing returns the UIDs of the devices whose codes begin alike.
func (f *Fleet) sharing(code string) []string {
	f.codes.mu.Lock()
	defer f.codes.mu.Unlock()
	if f.codes.devices == nil || time.Since(f.codes.builtAt) >= codesMaxAge {
		f.mu.RLock()
		known := slices.Collect(maps.Keys(f.devices))
		f.mu.RUnlock()
		f.codes.devices, f.codes.builtAt = make(map[string][]string, len(known)), time.Now()
		for _, key := range known {
			short := uid.Code(key)[:uid.MinCode]
			f.codes.devices[short] = append(f.codes.devices[short], key)
		}
	}
	return f.codes.devices[code[:uid.MinCode]]
}

// Code returns the short code of a device, as its sticker shows it. It is as long as needed to
// differ from the codes of all other devices.
func (f *Fleet) Code(key string) string {
	own := uid.Code(key)
	length := uid.MinCode
	for _, other := range f.sharing(own) {
		for other != key && length < uid.MaxCode && strings.HasPrefix(uid.Code(other), own[:length]) {
			length += 2
		}
	}
	return uid.ShowCode(own[:length])
}

// ByCode returns the devices with a short code, by name. There are several if a device was added
// after a sticker was printed.
func (f *Fleet) ByCode(code string) (found []*Device) {
	for _, key := range f.sharing(code) {
		if d := f.Device(key); d != nil && strings.HasPrefix(uid.Code(key), code) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, byName)
	return found
}
