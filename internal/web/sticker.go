package web

// StickerWords holds the words of a machine's sticker in one language.
type StickerWords struct {
	Tag, Name   string // of the language, in its own words
	RightToLeft bool
	Scan        string
	Code        string    // before the short code
	Only        [2]string // before and after the host at which customers may pay
}

// PayOnly returns the line that names the host at which customers may pay.
func (w StickerWords) PayOnly(host string) string { return w.Only[0] + host + w.Only[1] }
