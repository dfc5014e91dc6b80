package config

import (
	"encoding/hex"

	"notepay/internal/notefile"
)

// signKeySize is the length of NOTE_SIGN_KEY in bytes.
const signKeySize = 32

// NoteKey returns the key from which the devices' keys are derived, or nil if notes are not signed.
func (s *Settings) NoteKey() []byte {
	key, err := hex.DecodeString(string(s.NoteSignKey))
	if err != nil || len(key) != signKeySize {
		return nil // not reached after Load, which rejects the key
	}
	return key
}

// encryptExperimental is the value of ENCRYPT_NOTES that encrypts notes. Its name is a warning: no
// Notecard was asked whether it reads them.
const encryptExperimental = "experimental"

// NotesEncrypted reports whether notes are encrypted for their Notecard.
func (s *Settings) NotesEncrypted() bool { return s.EncryptNotes == encryptExperimental }

// checkNotes returns what is wrong with the settings about the notes to and from the machines.
func (s *Settings) checkNotes() (problems []string) {
	if why := notefile.CheckPayments(s.NoteFile); why != "" {
		problems = append(problems, "NOTE_FILE: "+why)
	}
	if why := notefile.CheckAnswers(s.AckFile); why != "" {
		problems = append(problems, "ACK_FILE: "+why)
	}
	if s.NoteSignKey != "" && s.NoteKey() == nil {
		problems = append(problems, "NOTE_SIGN_KEY: has to be 64 hexadecimal digits, "+
			"such as the output of: openssl rand -hex 32")
	}
	switch {
	case !s.NotesEncrypted() && s.EncryptNotes != "off" && s.EncryptNotes != "":
		problems = append(problems, "ENCRYPT_NOTES: "+quote(s.EncryptNotes)+" is neither off nor experimental")
	case s.NotesEncrypted() && s.NoteSignKey == "":
		problems = append(problems, "ENCRYPT_NOTES: needs NOTE_SIGN_KEY, "+
			"because anyone can encrypt a note and only the signature proves its origin")
	case s.NotesEncrypted() && s.ConfirmWithin <= 0:
		problems = append(problems, "ENCRYPT_NOTES: needs CONFIRM_WITHIN above 0, "+
			"because no Notecard was asked whether it decrypts notes, and only a confirmation shows that it does")
	}
	return problems
}
