// The options about who may reach the server, and which paths callers may name.
import { Option } from 'commander';
import { isOn, listed, positive } from './option-values.js';

export function accessOptions(): Option[] {
  return [
    new Option(
      '--allow-insecure-remote',
      'let --listen and --web without TLS, and --engine, go beyond this machine: a user who sees the traffic sees the token',
    ).default(isOn('ESPALIER_ALLOW_INSECURE_REMOTE')),
    new Option(
      '--tls-cert <file>',
      'speak TLS at --listen and --web with this certificate (PEM); new files are taken without a restart',
    ).env('ESPALIER_TLS_CERT'),
    new Option('--tls-key <file>', 'its private key').env('ESPALIER_TLS_KEY'),
    new Option('--tls-client-ca <file>', 'let in only clients with a certificate of this authority').env('ESPALIER_TLS_CLIENT_CA'),
    new Option(
      '--data-root <folder>',
      'callers with a token of `espalier token create` may name models and texts in this folder; may be given again ' +
        '(as a variable: a list with commas)',
    )
      .env('ESPALIER_DATA_ROOT')
      .argParser(listed),
    new Option(
      '--viewers-read-texts',
      'let viewers see paths outside the data roots, and download texts, tokens and states of runs; by default they download exports',
    ).default(isOn('ESPALIER_VIEWERS_READ_TEXTS')),
    new Option('--runs-per-caller <n>', 'runs that have not ended which one caller may have; admins have no limit (default: no limit)')
      .default(0, 'no limit')
      .env('ESPALIER_RUNS_PER_CALLER')
      .argParser(positive),
    new Option('--engine-hours <file>', 'the engine hours that callers may use, in YAML (docs/people.md)').env('ESPALIER_ENGINE_HOURS'),
    new Option('--oidc <file>', 'the OpenID provider by which people log in, in YAML (docs/logins.md)').env('ESPALIER_OIDC'),
    new Option('--open-loopback', 'ask for no token: every user of this machine may do everything').default(isOn('ESPALIER_OPEN_LOOPBACK')),
  ];
}
