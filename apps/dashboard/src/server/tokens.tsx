// The tokens with which others call the server. An admin makes, lists and revokes them.
import { useState } from 'preact/hooks';
import { roleWord } from '../api/allowed-calls.js';
import { accessService, troubleOf } from '../api/client.js';
import { useLoaded, useTrouble } from '../api/loaded-data.js';
import type { AccessToken } from '../generated/espalier/v1/access_service_pb.js';
import { time } from '../ui/format.js';
import { Dialog, FormDialog } from '../ui/dialog.js';
import { Heads } from '../ui/heads.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { TokenForm, type Made } from './token-form.js';
import { FieldRow } from '../forms/fields/field-row.js';
import { tokenState } from './token-words.js';

export function Tokens() {
  const loaded = useLoaded('tokens', async (signal) => (await accessService.listTokens({}, { signal })).tokens);
  const [isMaking, setMaking] = useState(false);
  const [made, setMade] = useState<Made>();
  const [leaving, setLeaving] = useState<AccessToken>();
  const { data: tokens, trouble, reload } = loaded;
  if (tokens === undefined) return <Pending loaded={loaded} heading="The tokens are not known" />;
  return (
    <section class="card" aria-label="Tokens">
      <header>
        <h2>Tokens</h2>
        <span class="soft">by which other people and programs call this server</span>
        <button class="at-end" onClick={() => setMaking(true)}>
          New token
        </button>
      </header>
      <TroubleNote trouble={trouble} />
      {tokens.length === 0 ? (
        <p class="in soft">No token was made yet: only the server&rsquo;s own user can call.</p>
      ) : (
        <TokenTable tokens={tokens} revoke={setLeaving} />
      )}
      {isMaking && (
        <TokenForm
          close={() => setMaking(false)}
          done={(one) => {
            setMaking(false);
            setMade(one);
            reload();
          }}
        />
      )}
      {made !== undefined && <Secret made={made} close={() => setMade(undefined)} />}
      {leaving !== undefined && (
        <RevokeForm
          token={leaving}
          close={() => setLeaving(undefined)}
          done={() => {
            setLeaving(undefined);
            reload();
          }}
        />
      )}
    </section>
  );
}

function TokenTable({ tokens, revoke }: { tokens: readonly AccessToken[]; revoke: (token: AccessToken) => void }) {
  return (
    <Scroll label="Tokens">
      <table class="plain num">
        <Heads names={['Name', 'Role', 'State', 'Valid until', 'Made', 'By', 'Revoke']} numbers={['Revoke']} />
        <tbody>
          {tokens.map((token) => (
            <tr key={token.tokenId}>
              <td>{token.name}</td>
              <td>{roleWord(token.role)}</td>
              <td class={tokenState(token) === 'valid' ? 'good' : 'soft'}>{tokenState(token)}</td>
              <td>{time(token.expiresAt)}</td>
              <td>{time(token.createdAt)}</td>
              <td>{token.createdBy}</td>
              <td class="right">
                {tokenState(token) === 'valid' && (
                  <button class="plain" onClick={() => revoke(token)} aria-label={`Revoke token ${token.name}`}>
                    Revoke
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Shows a token's secret. It is shown only this once, because the server keeps only its digest. */
function Secret({ made: { name, secret }, close }: { made: Made; close: () => void }) {
  const [told, setTold] = useState('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(secret);
      setTold('It is in the clipboard.');
    } catch {
      setTold('This browser does not let the page copy: select the token and copy it by hand.');
    }
  };
  return (
    <Dialog title={`Token ${name}`} close={close}>
      <form method="dialog">
        <header>
          <h2>Token {name}</h2>
        </header>
        <div class="in">
          <FieldRow
            label="Token"
            help="It is shown this once. A person enters it on this page; the command line reads it from ESPALIER_TOKEN."
            control={() => <input readOnly value={secret} onFocus={({ currentTarget }) => currentTarget.select()} autofocus />}
          />
          <p class="soft" role="status">
            {told}
          </p>
        </div>
        <footer>
          <button type="button" onClick={() => void copy()}>
            Copy
          </button>
          <button type="button" class="main" onClick={close}>
            Close
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function RevokeForm({ token, close, done }: { token: AccessToken; close: () => void; done: () => void }) {
  const [trouble, setTrouble] = useTrouble();
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await accessService.revokeToken({ token: token.tokenId });
      done();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <FormDialog title={`Revoke token ${token.name}`} button="Revoke the token" isDanger send={send} close={close}>
      <p>Once revoked, the token opens nothing. Open calls with it end, and browsers that logged in by it are logged out.</p>
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
