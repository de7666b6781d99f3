/** The row of heads of a table. Heads of columns of numbers stand on the right, as their numbers do. */
export function Heads({ names, numbers = [] }: { names: readonly string[]; numbers?: readonly string[] }) {
  return (
    <thead>
      <tr>
        {names.map((name) => (
          <th key={name} class={numbers.includes(name) ? 'right' : ''}>
            {name}
          </th>
        ))}
      </tr>
    </thead>
  );
}
