// A menu that shows who uses this page, with which role, and the logout.
import { useState } from 'preact/hooks';
import { callerWords, isOwner, roleWord } from '../api/allowed-calls.js';
import { useCaller } from '../api/caller.js';
import { logOut } from '../api/login.js';
import { time } from '../ui/format.js';

export function CallerMenu() {
  const caller = useCaller();
  const [trouble, setTrouble] = useState('');
  if (caller === undefined) return null;
  const { name, role, token, login } = caller;
  const known = login?.person ?? name;
  const leave = async (): Promise<void> => {
    if (await logOut()) location.reload();
    else setTrouble('The server does not answer.');
  };
  return (
    <details class="menu caller">
      <summary class="button" aria-label={`Logged in as ${known}`}>
        <span>{login?.person ?? token?.name ?? name}</span>
      </summary>
      <div class="card in">
        <p>
          <b>{known}</b>
          {!isOwner(caller) && `, ${roleWord(role)}`}
        </p>
        <p class="soft">{callerWords(caller)}</p>
        {token?.expiresAt !== undefined && <p class="soft">The token is valid until {time(token.expiresAt)}.</p>}
        {login?.endsAt !== undefined && <p class="soft">The login is valid until {time(login.endsAt)}.</p>}
        {login !== undefined && <p class="soft">Recorded as {login.actor}.</p>}
        {caller.needsLogin ? <button onClick={() => void leave()}>Log out</button> : <p class="soft">This server asks for no login.</p>}
        {trouble !== '' && (
          <p class="trouble" role="alert">
            {trouble}
          </p>
        )}
      </div>
    </details>
  );
}
