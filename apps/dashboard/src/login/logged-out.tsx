// Replaces every view while the browser is not logged in, because data that a view still shows may be wrong.
import { useEffect, useRef, useState } from 'preact/hooks';
import { logIn, loginProvider, providerLink } from '../api/login.js';
import { FormRefusal } from '../ui/dialog.js';

export function LoggedOut() {
  useEffect(() => {
    document.title = 'Logged out · Espalier';
  }, []);
  return (
    <div class="card empty">
      <div role="alert">
        <h1>This browser is not logged in</h1>
      </div>
      <ByProvider />
      <LoginForm />
      <p>
        On the server&rsquo;s machine no token is needed: run <code>npx espalier open</code> there. It opens this page with a link that logs
        the browser in, and this tab goes on by itself.
      </p>
    </div>
  );
}

/** The login through people's provider; nothing where the server has none. */
function ByProvider() {
  const [provider, setProvider] = useState<{ label: string; problem: string } | null>(null);
  useEffect(() => void loginProvider().then(setProvider), []);
  if (provider === null) return null;
  return (
    <div class="login">
      <a class="button main" href={providerLink(location)}>
        Log in with {provider.label}
      </a>
      {provider.problem !== '' && (
        <p class="trouble" role="alert">
          {provider.problem}
        </p>
      )}
      <p class="soft">Or with a token:</p>
    </div>
  );
}

function LoginForm() {
  const [refusal, setRefusal] = useState('');
  const [isSending, setSending] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    const refused = await logIn(field.current!.value);
    // The page is loaded again, so that no data of an earlier caller stays.
    if (refused === '') {
      location.reload();
      return;
    }
    setRefusal(refused);
    setSending(false);
    field.current?.select();
  };
  return (
    <form class="login" onSubmit={(event) => void send(event)}>
      <label class="field">
        <span>Token</span>
        <input
          ref={field}
          type="password"
          name="token"
          autocomplete="current-password"
          required
          aria-invalid={refusal !== ''}
          onInput={() => setRefusal('')}
        />
        <small>
          An admin makes it: on this page under Server, or by <code>npx espalier token create</code>.
        </small>
      </label>
      <button class="main" type="submit" disabled={isSending}>
        Log in
      </button>
      <FormRefusal words={refusal} />
    </form>
  );
}
