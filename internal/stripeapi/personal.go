package stripeapi

import (
	"bytes"
	"encoding/json"
	"slices"
)

// personal are the keys of Stripe's objects that tell who paid. They are not kept.
var personal = []string{
	"customer_details",
	"billing_details",
	"shipping",
	"shipping_details",
	"collected_information",
	"customer_email",
	"receipt_email",
	"payer_email",
	"payer_name",
	"payer_id",
	"verified_email",
	"verified_name",
	"customer_name",
	"customer_phone",
	"customer_address",
	"customer_shipping",
	"email",
	"phone",
	"address",
	"evidence",
}

// withoutPersonalData is the event's body without who paid, at any depth, and without the spaces
// between. It cuts the text instead of decoding it: half of a webhook's work was to make a tree of
// the event and a text of that again.
func withoutPersonalData(body []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		return nil, err
	}
	text := compact.Bytes()
	kept := make([]byte, 0, len(text))
	for at := 0; at < len(text); {
		if text[at] != '"' {
			kept = append(kept, text[at])
			at++
			continue
		}
		end := endOfString(text, at)
		if end == len(text) || text[end] != ':' || !isPersonal(text[at:end]) {
			kept = append(kept, text[at:end]...)
			at = end
			continue
		}
		if at = endOfValue(text, end+1); text[at] == ',' {
			at++
		} else {
			kept = bytes.TrimSuffix(kept, []byte(",")) // it was the last of its object
		}
	}
	return bytes.ToValidUTF8(kept, []byte("\uFFFD")), nil // PostgreSQL takes nothing else
}

// isPersonal judges a key with its quotation marks.
func isPersonal(key []byte) bool {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		_ = json.Unmarshal(key, &plain) // it is valid
		return slices.Contains(personal, plain)
	}
	return slices.Contains(personal, string(name))
}

// endOfString is behind the string that begins at a place in valid JSON.
func endOfString(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// endOfValue is behind the value that begins at a place within an object of valid JSON without
// spaces.
func endOfValue(text []byte, at int) int {
	for depth := 0; ; {
		switch text[at] {
		case '"':
			at = endOfString(text, at)
			continue
		case '{', '[':
			depth++
		case ',':
			if depth == 0 {
				return at
			}
		case '}', ']':
			if depth == 0 {
				return at
			}
			depth--
		}
		at++
	}
}
