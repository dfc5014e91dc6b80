package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// maxFile is the largest settings file that is read, in bytes.
const maxFile = 1 << 20

// ReadFile reads a settings file, one NAME=value a line. A missing file holds no settings. The
// error names the line and never quotes its value, which may be a secret.
//
// systemd and Docker read the same file. So ReadFile rejects what they would read differently, and
// $ has no special meaning.
func ReadFile(file string) (map[string]string, error) {
	values, _, err := readFile(file)
	return values, err
}

// readFile also returns warnings about lines that are valid but may not mean what their author
// expects.
func readFile(file string) (values map[string]string, warnings []string, err error) {
	values = map[string]string{}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return values, nil, nil
	case err == nil && info.IsDir():
		return nil, nil, fmt.Errorf("%s is a directory; it has to be a file with one NAME=value a line", file)
	case err == nil && info.Size() > maxFile:
		return nil, nil, fmt.Errorf("%s is larger than 1 MiB; it does not look like a settings file", file)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read settings: %w", err) // names the file and the cause, and holds no content
	}
	if encoding := strangeEncoding(text); encoding != "" {
		return nil, nil, fmt.Errorf("%s %s: save it as UTF-8 without a byte order mark", file, encoding)
	}
	lines := strings.ReplaceAll(string(text), "\r\n", "\n")
	number := 0
	for line := range strings.SplitSeq(strings.ReplaceAll(lines, "\r", "\n"), "\n") {
		number++
		name, value, warning, err := parseLine(line)
		if err != nil {
			return nil, nil, fmt.Errorf("%s, line %d: %w", file, number, err)
		}
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("%s, line %d: %s", file, number, warning))
		}
		if _, twice := values[name]; twice {
			warnings = append(
				warnings,
				fmt.Sprintf("%s, line %d: %s is set again; the last line counts", file, number, name),
			)
		}
		if name != "" {
			values[name] = value
		}
	}
	return values, warnings, nil
}

// strangeEncoding returns what is wrong with the encoding of a file, or "".
func strangeEncoding(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte("\ufeff")):
		return "begins with a byte order mark (BOM)"
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return "is saved as UTF-16"
	case bytes.IndexByte(text, 0) >= 0:
		return "holds a zero byte"
	case !utf8.Valid(text):
		return "is not valid UTF-8"
	}
	return ""
}

// assignment splits a line into its name and its raw value.
var assignment = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*$`)

// These match what shells and YAML take for an assignment. systemd leaves such a line out without an
// error, and Docker refuses the file.
var (
	exported = regexp.MustCompile(`^\s*export\s+[A-Za-z_][A-Za-z0-9_.]*\s*[=:]`)
	colon    = regexp.MustCompile(`^\s*[A-Za-z_][A-Za-z0-9_.]*\s*:`)
)

// parseLine reads one line. The name is "" for an empty line and a comment.
func parseLine(line string) (name, value, warning string, err error) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || strings.HasPrefix(trimmed, "#") {
		return "", "", "", nil
	}
	parts := assignment.FindStringSubmatch(line)
	if r, found := invisible(strings.ReplaceAll(line, "\t", " ")); parts == nil && found {
		return "", "", "", fmt.Errorf(
			"this is not NAME=value: it holds an invisible character (%U), type the line again",
			r,
		)
	}
	switch {
	case exported.MatchString(line):
		return "", "", "", errors.New("write NAME=value without export, because systemd leaves out a line with it")
	case colon.MatchString(line):
		return "", "", "", errors.New("this is not NAME=value: write = in place of the colon")
	case parts == nil:
		return "", "", "", fmt.Errorf("this is not NAME=value, nor a comment that begins with #")
	}
	name, raw := parts[1], parts[2]
	quoted := strings.HasPrefix(raw, `"`)
	if strings.HasPrefix(raw, `'`) { // to godotenv, a backslash before the last quote would be no end
		whole := singleQuoted.FindStringSubmatch(raw)
		if whole == nil {
			return "", "", "", fmt.Errorf("%s: the quotes are not closed on this line, or text follows them", name)
		}
		return name, whole[1], "", nil
	}
	switch {
	case quoted && strings.Contains(raw, `\`):
		return "", "", "", fmt.Errorf(
			"%s: a backslash in double quotes is read differently by other programs; use single quotes",
			name,
		)
	case strings.Contains(raw, `\$`):
		return "", "", "", fmt.Errorf(`%s: write $ without a backslash; it has no special meaning here`, name)
	case strings.HasSuffix(raw, `\`):
		return "", "", "", fmt.Errorf(`%s: ends in a backslash, with which systemd joins the next line to it; `+
			"put the value in single quotes", name)
	case startsWithCurlyQuote(raw):
		return "", "", "", fmt.Errorf(`%s: begins with a curly quote; use straight quotes (") or none`, name)
	}
	// godotenv would replace $NAME by another setting. A zero byte, which the file cannot hold,
	// stands for $ meanwhile.
	parsed, err := godotenv.Unmarshal(strings.ReplaceAll(trimmed, "$", "\x00"))
	switch whole := err == nil && len(parsed) == 1; {
	case !whole && quoted:
		return "", "", "", fmt.Errorf("%s: the quotes are not closed on this line, or text follows them", name)
	case !whole:
		return "", "", "", fmt.Errorf("this is not NAME=value, nor a comment that begins with #")
	}
	value = strings.ReplaceAll(parsed[name], "\x00", "$")
	if !quoted && strings.Contains(value, `\`) && !windowsPath.MatchString(value) {
		return "", "", "", fmt.Errorf(
			"%s: a backslash without quotes, which systemd removes; put the value in single quotes",
			name,
		)
	}
	if !quoted && value != strings.TrimSpace(raw) {
		warning = name + ": everything from # on is a comment; put the value in single quotes if the # belongs to it"
	}
	return name, value, warning, nil
}

// windowsPath matches a path on a drive or a share of Windows, where there is no systemd.
var windowsPath = regexp.MustCompile(`^(?:[A-Za-z]:\\|\\\\)`)

// singleQuoted matches a value in single quotes, and perhaps a comment behind it.
var singleQuoted = regexp.MustCompile(`^'([^']*)'(?:\s+#.*|)$`)

func startsWithCurlyQuote(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return strings.ContainsRune(curlyQuotes, first)
}

const (
	curlyQuotes    = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
	straightQuotes = "\"'`"
)

// isText reports whether a setting is a text that customers read. Characters that are mistakes in
// other settings may belong to it.
func isText(name string) bool {
	switch name {
	case "BRAND_NAME", "SUPPORT_CONTACT", "SELLER_ADDRESS", "TAX_LINE":
		return true
	}
	return false
}

// invisible returns the first invisible character, which usually entered when the value was copied.
func invisible(value string) (r rune, found bool) {
	at := strings.IndexFunc(value, func(r rune) bool { return !unicode.IsPrint(r) })
	if at < 0 {
		return 0, false
	}
	r, _ = utf8.DecodeRuneInString(value[at:])
	return r, true
}

// checkCharacters rejects invisible characters, because a vendor would only report a wrong key. In
// texts it rejects control characters such as line breaks.
func checkCharacters(name, value string) []string {
	r, found := invisible(value)
	if found && isText(name) {
		found = strings.ContainsFunc(value, unicode.IsControl)
	}
	if !found {
		return nil
	}
	return []string{fmt.Sprintf("%s: holds an invisible character (%U), copy or type it again", name, r)}
}

// unquote takes off the quotes around a value of the environment, as the settings file and systemd do.
// Docker's --env-file and Compose's raw format leave them on. What would need more than that stays as
// it is: inQuotes rejects it.
func unquote(value string) (plain string, quoted bool) {
	for _, quote := range []string{`"`, "'"} {
		plain, begins := strings.CutPrefix(value, quote)
		plain, ends := strings.CutSuffix(plain, quote)
		if begins && ends && !strings.Contains(plain, quote) && (quote == "'" || !strings.Contains(plain, `\`)) {
			return plain, true
		}
	}
	return value, false
}

// hasComment reports whether a value of the environment seems to end in a comment. Docker and systemd
// make it a part of the value. In a text that customers read, a # may stand for a number.
func hasComment(name, value string) bool {
	if isText(name) {
		return quotedComment.MatchString(value)
	}
	return commented.MatchString(value)
}

// commented matches a comment after a value, and quotedComment one after a value in quotes.
var (
	commented     = regexp.MustCompile(`\s#`)
	quotedComment = regexp.MustCompile(`^(?:"[^"]*"|'[^']*')\s+#`)
)

// placeholder matches a text that should have been replaced by the value. As a token it would be
// easy to guess.
var placeholder = regexp.MustCompile(`^(\$\{.*\}|\$\(.*\)|\$[A-Z][A-Z0-9_]*|%[A-Za-z0-9_]+%|\{\{.*\}\}|<.*>)$`)

// inQuotes reports whether a value is still in quotes, such as curly ones. Only texts that customers
// read may hold a quote.
func inQuotes(name, value string) bool {
	first, size := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	quote := func(r rune) bool { return strings.ContainsRune(straightQuotes+curlyQuotes, r) }
	if len(value) > size && quote(first) && quote(last) {
		return true
	}
	return !isText(name) && strings.ContainsAny(value, straightQuotes+curlyQuotes)
}
