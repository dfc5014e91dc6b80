// Package passkey verifies passkeys (W3C Web Authentication, Level 2) without attestation.
//
// It promises that a sign-in counts only if it answers our challenge on our site, if the device checked
// the person, and if the registered key signed all of that. It does not know who made a device: it
// asks for no attestation and believes none. ADR 0024 says why it is our own.
package passkey
