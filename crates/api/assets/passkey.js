// Passkeys: signs what a form holds before it is sent, and makes a new one.
'use strict';

function told(form, text) {
  const trouble = form.querySelector('[data-trouble]');
  trouble.textContent = text || trouble.dataset.trouble;
  trouble.hidden = false;
}

async function sign(form) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(form.dataset.options));
  const made = await navigator.credentials.get({ publicKey });
  form.elements.passkey.value = JSON.stringify(made.toJSON());
}

async function call(form, address, body) {
  const headers = { 'Portcullis-CSRF': form.elements.csrf.value, 'Content-Type': 'application/json' };
  const answer = await fetch(address, { method: 'POST', headers, body: body && JSON.stringify(body) });
  const read = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(read.detail), { detail: read.detail });
  return read;
}

async function create(form) {
  const { publicKey } = await call(form, '/v1/passkeys/options');
  const options = PublicKeyCredential.parseCreationOptionsFromJSON(publicKey);
  const made = await navigator.credentials.create({ publicKey: options });
  await call(form, '/v1/passkeys', { name: form.elements.name.value, credential: made.toJSON() });
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const button = form.querySelector('button');
  button.disabled = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      if (form.dataset.passkey === 'get') {
        await sign(form);
        form.submit();
      } else {
        await create(form);
        location.assign('/me?said=passkey-added');
      }
    } catch (error) {
      told(form, error.detail);
      button.disabled = false;
    }
  });
}
