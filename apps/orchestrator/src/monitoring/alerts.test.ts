// Checks the alert rules of deploy/monitoring by Prometheus' own promtool. On a machine without it, only the lists are compared.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const FOLDER = fileURLToPath(new URL('../../../../../deploy/monitoring/', import.meta.url));
const read = (file: string): unknown => parse(readFileSync(FOLDER + file, 'utf8'));
const withPromtool = spawnSync('promtool', ['--version']).status === 0 ? it : it.skip;

interface Rules {
  groups: { rules: { alert: string }[] }[];
}
interface Tests {
  tests: {
    alert_rule_test?: { alertname: string; exp_alerts?: object[] }[];
    promql_expr_test?: { exp_samples: { labels: string }[] }[];
  }[];
}

it('each alert is tried with figures that fire it, and with figures that do not', () => {
  const { groups } = read('alerts.yaml') as Rules;
  const alerts = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert)).sort();
  const { tests } = read('alerts.test.yaml') as Tests;
  const silent = tests.flatMap(({ alert_rule_test: own = [] }) => own.filter(({ exp_alerts: fired = [] }) => fired.length === 0));
  const firing = tests.flatMap(({ promql_expr_test: own = [] }) => own.flatMap(({ exp_samples: samples }) => samples));
  expect([...new Set(silent.map(({ alertname }) => alertname))].sort()).toEqual(alerts);
  expect(firing.map(({ labels }) => /alertname="(\w+)"/.exec(labels)![1]!).sort()).toEqual(alerts);
});

withPromtool('promtool finds nothing wrong with the rules, and each fires when it should', () => {
  for (const words of [
    ['check', 'rules', 'alerts.yaml'],
    ['test', 'rules', 'alerts.test.yaml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', words, { cwd: FOLDER, encoding: 'utf8' });
    expect([words, status, stdout + stderr]).toEqual([words, 0, expect.stringContaining('SUCCESS')]);
  }
});
