package apptest

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
)

// Memory returns the memory that the heap and the stacks of the service take, in bytes, as its
// metrics tell it.
func (s *Service) Memory() int64 {
	resp, err := http.Get(s.Url + "/metrics")
	if err != nil {
		s.W.Errorf("memory: %v", err)
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	found := inUse.FindAllSubmatch(text, -1)
	if err != nil || len(found) != 2 {
		s.W.Errorf("memory: %v, %q; want heap and stacks", err, found)
		return 0
	}
	sum := 0.0
	for _, one := range found {
		n, err := strconv.ParseFloat(string(one[1]), 64)
		if err != nil {
			s.W.Errorf("memory: %v", err)
		}
		sum += n
	}
	return int64(sum)
}

var inUse = regexp.MustCompile(`(?m)^go_memstats_(?:heap|stack)_inuse_bytes (\S+)$`)
