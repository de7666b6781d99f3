// Menus work as people expect: a press beside them closes them, and so does Escape, which moves the focus back to the menu's button. The
// arrows move from item to item.

const openMenus = (): HTMLDetailsElement[] => [...document.querySelectorAll<HTMLDetailsElement>('details.menu[open]')];

export function startMenus(): void {
  document.addEventListener('pointerdown', ({ target }) => {
    for (const menu of openMenus()) if (target instanceof Node && !menu.contains(target)) menu.open = false;
  });
  document.addEventListener('keydown', (event) => {
    const { key, target } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') moveWithin(event, key === 'ArrowDown' ? 1 : -1);
    if (key !== 'Escape') return;
    for (const menu of openMenus()) {
      if (!(target instanceof Node && menu.contains(target))) continue;
      menu.open = false;
      menu.querySelector('summary')?.focus();
    }
  });
}

const ITEMS = 'summary, a[href], button:not(:disabled), input';

/** The fields of a menu for text keep their arrows. */
function moveWithin(event: KeyboardEvent, by: 1 | -1): void {
  const { target } = event;
  if (!(target instanceof HTMLElement) || target.matches('input[type=text]')) return;
  const menu = openMenus().find((one) => one.contains(target));
  if (menu === undefined) return;
  const items = [...menu.querySelectorAll<HTMLElement>(ITEMS)];
  items[(items.indexOf(target) + by + items.length) % items.length]?.focus();
  event.preventDefault();
}
