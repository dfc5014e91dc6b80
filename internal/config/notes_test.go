package config

import (
	"strings"
	"testing"
)

func TestLoadNotes(t *testing.T) {
	t.Parallel()
	values := good()
	s, err := load(t, values)
	if err != nil || s.NoteFile != "payment.qi" || s.AckFile != "payment_ack.qo" || s.NoteKey() != nil {
		t.Fatalf("without settings: %q, %q, %x, %v", s.NoteFile, s.AckFile, s.NoteKey(), err)
	}
	values["NOTE_FILE"], values["ACK_FILE"] = "washers.qis", "washers_ack.qos"
	values["NOTE_SIGN_KEY"] = strings.Repeat("0aF1", 16)
	if s, err = load(t, values); err != nil || s.NoteFile != "washers.qis" || s.AckFile != "washers_ack.qos" ||
		len(s.NoteKey()) != 32 || s.NoteKey()[1] != 0xf1 {
		t.Fatalf("with settings: %v", err)
	}
}

func TestLoadEncryptNotes(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("0a", 32)
	for _, row := range []struct{ value, key, confirm, problem string }{
		{"", "", "0", ""},
		{"off", "", "0", ""},
		{"experimental", key, "2m", ""},
		{"on", key, "2m", "is neither off nor experimental"},
		{"experimental", "", "2m", "needs NOTE_SIGN_KEY"},
		{"experimental", key, "0", "needs CONFIRM_WITHIN above 0"},
	} {
		values := good()
		values["ENCRYPT_NOTES"], values["NOTE_SIGN_KEY"], values["CONFIRM_WITHIN"] = row.value, row.key, row.confirm
		s, err := load(t, values)
		switch {
		case row.problem == "" && (err != nil || s.NotesEncrypted() != (row.value == "experimental")):
			t.Errorf("%+v: %v", row, err)
		case row.problem != "" && (err == nil || !strings.Contains(err.Error(), "ENCRYPT_NOTES: ") ||
			!strings.Contains(err.Error(), row.problem)):
			t.Errorf("%+v: %v", row, err)
		}
	}
}

func TestLoadNamesAllProblemsOfSignedNotesAtOnce(t *testing.T) {
	t.Parallel()
	values := good()
	secret := strings.Repeat("5e", 31)
	values["NOTE_SIGN_KEY"], values["CREDIT_LIFETIME"], values["NOTE_FILE"] = secret, "0", "payment"
	_, err := load(t, values)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"NOTE_SIGN_KEY: has to be 64", "CREDIT_LIFETIME: has to be above 0 where NOTE_SIGN_KEY", "NOTE_FILE: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the message tells the key: %v", err)
	}
}
