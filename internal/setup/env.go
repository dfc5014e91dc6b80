package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"notepay/internal/config"
)

// setting is a line of the settings file.
type setting struct {
	name, value string
	secret      bool
}

// line returns the setting as a line of the file. A backslash needs quotes, without which other
// programs remove it.
func (s setting) line() string {
	if strings.Contains(s.value, `\`) && !strings.Contains(s.value, "'") {
		return s.name + "='" + s.value + "'"
	}
	return s.name + "=" + s.value
}

// offer asks whether to write settings to the file. It asks again for each setting that has another
// value there.
func offer(d *dialog, file string, settings []setting) error {
	current, err := config.ReadFile(file)
	if err != nil {
		return err
	}
	settings = slices.DeleteFunc(settings, func(s setting) bool { return current[s.name] == s.value })
	if len(settings) == 0 {
		d.say("%s is up to date.", file)
		return nil
	}
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
	}
	yes, err := d.agrees(fmt.Sprintf("Write %s to %s?", strings.Join(names, " and "), file))
	if err != nil {
		return err
	}
	var write []setting
	for _, s := range settings {
		replace := yes
		if old := current[s.name]; yes && old != "" {
			if s.secret {
				old = "set"
			}
			if replace, err = d.agrees(fmt.Sprintf("%s is already %s. Replace it?", s.name, old)); err != nil {
				return err
			}
		}
		if replace {
			write = append(write, s)
		} else if !s.secret { // a new secret was shown before
			d.say("  %s=%s", s.name, s.value)
		}
	}
	if len(write) == 0 {
		return nil
	}
	if err := writeSettings(file, write); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	d.say("%s was written.", file)
	return nil
}

// WriteSettings sets the values of the names in the file, in the order of names. An empty value is
// left out. The file is replaced as a whole, and only its owner may read a new one.
func WriteSettings(file string, names []string, values map[string]string) error {
	var list []setting
	for _, name := range names {
		if v := values[name]; v != "" {
			list = append(list, setting{name: name, value: v})
		}
	}
	return writeSettings(file, list)
}

// writeSettings sets or adds the line of each setting and keeps all other lines. It replaces the
// file as a whole. Only the owner may read a new file.
func writeSettings(file string, settings []setting) (err error) {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target // so that a symbolic link stays one
	}
	mode := fs.FileMode(0o600)
	text, err := os.ReadFile(file)
	switch info, statErr := os.Stat(file); {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Join(err, statErr) != nil:
		return errors.Join(err, statErr)
	default:
		mode = info.Mode().Perm()
	}
	content := string(text)
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	for _, s := range settings {
		line := regexp.MustCompile(`(?m)^[ \t]*` + s.name + `[ \t]*=.*$`)
		text := s.line()
		if at := line.FindAllStringIndex(content, -1); len(at) > 0 {
			last := at[len(at)-1] // the last of several lines counts
			content = content[:last[0]] + text + content[last[1]:]
		} else {
			content += text + "\n"
		}
	}
	partial, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = partial.WriteString(content)
	err = errors.Join(err, partial.Chmod(mode), partial.Sync(), partial.Close())
	if err == nil {
		err = os.Rename(partial.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial.Name()))
	}
	return nil
}
