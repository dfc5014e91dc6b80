package console

import (
	"html"
	"regexp"
	"strconv"
	"strings"
)

// mapTexts returns the source of a template with each of its texts replaced by translate's result, so
// that templates are written in English only. A text is what stands between two tags or control
// actions, or the value of an attribute that people read. Other actions within it are the placeholders
// {1}, {2} and so on. Texts that translate does not change keep their bytes.
func mapTexts(source string, translate func(text string) string) string {
	var out, run strings.Builder
	flush := func() {
		out.WriteString(mapText(run.String(), translate))
		run.Reset()
	}
	verbatim := "" // the end tag of an element whose content is no text
	for source != "" {
		n := 1
		switch {
		case strings.HasPrefix(source, "{{"):
			n = actionEnd(source)
			if verbatim != "" || isControl(source[:n]) {
				flush()
				out.WriteString(source[:n])
			} else {
				run.WriteString(source[:n])
			}
		case source[0] == '<':
			flush()
			n = tagEnd(source)
			tag := source[:n]
			if name := tagName.FindString(tag); name == "<code" || name == "<pre" {
				verbatim = "</" + name[1:] + ">"
			} else if tag == verbatim {
				verbatim = ""
			}
			out.WriteString(readAttribute.ReplaceAllStringFunc(tag, func(attribute string) string {
				name, value, _ := strings.Cut(attribute, "=")
				return name + `="` + mapTexts(strings.Trim(value, `"`), translate) + `"`
			}))
		case verbatim != "":
			out.WriteByte(source[0])
		default:
			run.WriteByte(source[0])
		}
		source = source[n:]
	}
	flush()
	return out.String()
}

var (
	tagName       = regexp.MustCompile(`^<[a-z]+`)
	readAttribute = regexp.MustCompile(` (aria-label|placeholder|title|alt|data-label)="[^"]*"`)
	control       = regexp.MustCompile(`^{{-?\s*(if|else|end|range|with|define|template|block|/\*|\$\w+\s*:?=)`)
	action        = regexp.MustCompile(`{{.*?}}`)
	letters       = regexp.MustCompile(`\p{L}`)
)

// isControl reports whether an action prints nothing itself.
func isControl(action string) bool { return control.MatchString(action) }

// actionEnd returns the length of the action that a source begins with.
func actionEnd(source string) int {
	if at := strings.Index(source, "}}"); at >= 0 {
		return at + 2
	}
	return len(source)
}

// tagEnd returns the length of the tag that a source begins with. Its attributes may hold actions.
func tagEnd(source string) int {
	for i := 0; i < len(source); i++ {
		switch {
		case strings.HasPrefix(source[i:], "{{"):
			i += actionEnd(source[i:]) - 1
		case source[i] == '>':
			return i + 1
		}
	}
	return len(source)
}

// mapText translates one text with its actions.
func mapText(raw string, translate func(string) string) string {
	var actions []string
	text := action.ReplaceAllStringFunc(raw, func(a string) string {
		actions = append(actions, a)
		return "{" + strconv.Itoa(len(actions)) + "}"
	})
	text = html.UnescapeString(strings.Join(strings.Fields(text), " "))
	if !letters.MatchString(text) {
		return raw
	}
	own := translate(text)
	if own == text || strings.Contains(own, "{{") {
		return raw
	}
	own = html.EscapeString(own)
	for i, a := range actions {
		own = strings.ReplaceAll(own, "{"+strconv.Itoa(i+1)+"}", a)
	}
	begin := raw[:len(raw)-len(strings.TrimLeft(raw, " \n"))]
	end := raw[len(strings.TrimRight(raw, " \n")):]
	return begin + own + end
}
