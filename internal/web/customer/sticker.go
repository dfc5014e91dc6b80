package customer

import (
	"strings"

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
