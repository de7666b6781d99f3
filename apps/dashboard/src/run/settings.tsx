import { SETTING_FIELDS, wordsOf } from '../forms/run/setting-table.js';
import type { ResultEstimate } from '../generated/espalier/v1/run_service_pb.js';
import { Fold } from '../ui/fold.js';
import { bytes, count, counted, percent, time } from '../ui/format.js';
import { useNarrow } from '../ui/narrow.js';
import { Scroll } from '../ui/scroll.js';
import { trainWords } from './command-words.js';
import type { TabProps } from './tab-props.js';

/** Shows the run's settings, by the names that run files and the command line use. */
export function SettingsTab({ run }: TabProps) {
  const settings = wordsOf(run.settings);
  const facts: [string, string][] = [
    ['model', run.modelPath],
    ['weights digest', run.weightsDigest],
    ['training text', run.data === undefined ? '' : trainWords(run.data).join(', ')],
    ['validation text', run.data?.validationPath ?? ''],
    ['parameters', `${count(run.parameterCount)}, ${count(run.prunableParameterCount)} of them prunable`],
    ['exported as hf-remote', run.result === undefined ? '' : sizeWords(run.result)],
    ['numerics', run.numericsFingerprint],
    ['state', run.stateDigest],
    ['chain', `${run.digestChain} at revision ${run.revision}`],
    ['launched', time(run.launchedAt)],
    ['ended', time(run.endedAt)],
  ];
  return (
    <div class="charts wide">
      <Table title="Settings" rows={Object.entries(settings)} />
      <Table title="Facts" rows={facts} />
    </div>
  );
}

/** Shows the settings without the words about them, beside or below the curves. */
export function SettingsFold({ run }: Pick<TabProps, 'run'>) {
  const settings = wordsOf(run.settings);
  const isNarrow = useNarrow();
  return (
    <Fold
      id="settings"
      title="Settings of the run"
      words={`${settings['recipe']}, ${counted(Object.keys(settings).length, 'setting')}`}
      isOpenAtFirst={!isNarrow}
    >
      <dl class="set">
        {Object.entries(settings).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <code>{value || '–'}</code>
            </dd>
          </div>
        ))}
      </dl>
    </Fold>
  );
}

function sizeWords({ parameterCount, multiplicationShare, bytes: size, estimated }: ResultEstimate): string {
  const about = estimated ? 'about ' : '';
  return `${about}${count(parameterCount)} parameters, ${bytes(size)}, ${percent(multiplicationShare)} of the multiplications a token`;
}

function Table({ title, rows }: { title: string; rows: [string, string][] }) {
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
      </header>
      <Scroll label="Table">
        <table class="plain settings">
          <tbody>
            {rows.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">
                  {name}
                  {helpOf(name) !== '' && <small class="about">{helpOf(name)}</small>}
                </th>
                <td class="mono break">{value || '–'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

/** Describes a setting in words; '' for a fact. */
const helpOf = (name: string): string => SETTING_FIELDS.find((field) => field.name === name)?.help ?? '';
