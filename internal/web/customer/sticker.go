package customer

import (
	"strings"
	"time"

	"notepay/internal/web"
)

// StickerWords returns what stickers say in each language, English first.
func StickerWords() (list []web.StickerWords) {
	for at, tag := range languages.tags {
		l := languages.language(at, tag)
		w := web.StickerWords{
			Tag:         l.Tag,
			Name:        l.T("language.name"),
			RightToLeft: l.RightToLeft(),
			Scan:        l.T("sticker.scan"),
			Code:        l.T("sticker.code"),
		}
		w.Only[0], w.Only[1], _ = strings.Cut(l.T("sticker.only"), "{host}")
		list = append(list, w)
	}
	return list
}

// PaymentText returns the text with which an operator sends a payment's page to the payer, in the
// language with a tag.
func PaymentText(tag, machine, page string) string {
	return languages.named(tag).Translate(msg("support.payment", "machine", machine, "link", page))
}

// FreeText returns the text with which an operator sends a code for a free start. machine is "" for a
// code of several machines.
func FreeText(tag, machine, page, code string, until time.Time, zone *time.Location) string {
	l, end := languages.named(tag), day{until, zone}
	if machine == "" {
		return l.Translate(msg("support.free_site", "link", page, "code", code, "time", end))
	}
	return l.Translate(msg("support.free", "machine", machine, "link", page, "code", code, "time", end))
}
