// Makes and uses passkeys. Without this script, or in a browser without passkeys, their forms stay hidden.
"use strict";
(() => {
  if (!window.PublicKeyCredential) return;
  const bytes = text => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
  const text = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer || [])))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const create = async d => {
    const made = await navigator.credentials.create({publicKey: {
      challenge: bytes(d.challenge),
      rp: {id: d.site, name: "notepay"},
      user: {id: bytes(d.user), name: d.name, displayName: d.name},
      pubKeyCredParams: [-7, -8, -257].map(alg => ({type: "public-key", alg})), // ES256, EdDSA, RS256
      excludeCredentials: d.known.split(" ").filter(id => id).map(id => ({type: "public-key", id: bytes(id)})),
      authenticatorSelection: {residentKey: "required", userVerification: "required"},
      attestation: "none",
    }});
    const r = made.response;
    return {client: r.clientDataJSON, data: r.getAuthenticatorData(), key: r.getPublicKey()};
  };

  const get = async d => {
    const used = await navigator.credentials.get({publicKey: {
      challenge: bytes(d.challenge), rpId: d.site, userVerification: "required",
    }});
    const r = used.response;
    return {id: used.rawId, client: r.clientDataJSON, data: r.authenticatorData, signature: r.signature, user: r.userHandle};
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const says = form.querySelector("[role=status]");
    form.hidden = false;
    form.querySelector("button").addEventListener("click", async () => {
      says.textContent = "";
      try {
        const parts = await (form.dataset.passkey === "create" ? create : get)(form.dataset);
        for (const [name, value] of Object.entries(parts)) {
          const field = Object.assign(document.createElement("input"), {type: "hidden", name, value: text(value)});
          form.append(field);
        }
        form.submit();
      } catch (problem) {
        says.textContent = problem.name === "InvalidStateError" ? "This device has a passkey for you already." :
          "That did not work, or it was canceled. Please try again.";
      }
    });
  }
})();
