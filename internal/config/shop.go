package config

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"notepay/internal/terms"
)

const (
	// maxTextLength is the maximum length of the texts on receipts, in characters.
	maxTextLength = 200
	// maxLogoSize is the maximum size of the logo, in bytes. A customer's page stays below 50 kB with it.
	maxLogoSize = 24 << 10
)

// TakesPromotionCodes reports whether customers may enter a promotion code on Stripe's page.
func (s *Settings) TakesPromotionCodes() bool { return s.PromotionCodes == "on" }

// checkShop returns what is wrong with the settings about the seller that customers read.
func (s *Settings) checkShop() (problems []string) {
	s.SupportContact = withoutScheme(s.SupportContact)
	wrong := func(is bool, format string, args ...any) {
		if is {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	wrong(utf8.RuneCountInString(s.BrandName) > maxNameLength, "BRAND_NAME: at most %d characters", maxNameLength)
	wrong(s.BrandColor != "" && !hexColor.MatchString(s.BrandColor), "BRAND_COLOR: has to be a color such as #0b6b4f")
	wrong(
		utf8.RuneCountInString(s.SupportContact) > maxNameLength,
		"SUPPORT_CONTACT: at most %d characters, an e-mail address, a telephone number or a web address",
		maxNameLength,
	)
	wrong(
		utf8.RuneCountInString(s.SellerAddress) > maxTextLength,
		"SELLER_ADDRESS: at most %d characters",
		maxTextLength,
	)
	wrong(utf8.RuneCountInString(s.TaxLine) > maxTextLength, "TAX_LINE: at most %d characters", maxTextLength)
	wrong(
		!slices.Contains(terms.Languages(), s.CheckoutLanguage),
		"CHECKOUT_LANGUAGE: has to be one of %s",
		strings.Join(terms.Languages(), ", "),
	)
	wrong(
		!s.TakesPromotionCodes() && s.PromotionCodes != "off" && s.PromotionCodes != "",
		"PROMOTION_CODES: has to be on or off",
	)
	for _, page := range []struct{ name, address string }{
		{"IMPRINT_URL", s.ImprintURL}, {"PRIVACY_URL", s.PrivacyURL}, {"TERMS_URL", s.TermsURL},
	} {
		u, err := url.Parse(page.address)
		wrong(
			page.address != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
				spaced(page.address) || len(page.address) > maxTextLength),
			"%s: has to be a web address such as https://example.com/page, of at most %d characters",
			page.name,
			maxTextLength,
		)
	}
	if s.BrandLogo != "" {
		_, _, err := s.Logo()
		wrong(err != nil, "BRAND_LOGO: %v", err)
	}
	return problems
}

// withoutScheme returns a contact as customers read it. The pages make links of addresses and
// numbers.
func withoutScheme(contact string) string {
	for _, scheme := range []string{"mailto:", "tel:"} {
		if len(contact) > len(scheme) && strings.EqualFold(contact[:len(scheme)], scheme) {
			return strings.TrimSpace(contact[len(scheme):])
		}
	}
	return contact
}

// Logo reads the file of the logo, and returns its media type.
func (s *Settings) Logo() (image []byte, mediaType string, err error) {
	if s.BrandLogo == "" {
		return nil, "", nil
	}
	image, err = os.ReadFile(s.BrandLogo)
	if err != nil {
		return nil, "", err
	}
	switch kind := strings.ToLower(filepath.Ext(s.BrandLogo)); {
	case len(image) > maxLogoSize:
		return nil, "", fmt.Errorf("%s has %d bytes; at most %d, because each customer loads it",
			s.BrandLogo, len(image), maxLogoSize)
	case kind == ".png" && bytes.HasPrefix(image, []byte("\x89PNG\r\n\x1a\n")):
		return image, "image/png", nil
	case kind == ".svg" && bytes.Contains(image, []byte("<svg")):
		return image, "image/svg+xml", nil
	}
	return nil, "", fmt.Errorf("%s is neither a PNG nor an SVG file of that ending", s.BrandLogo)
}
