// Closes menus as people expect: by a press beside them, and by Escape, which moves the focus back to the menu's button.

const openMenus = (): HTMLDetailsElement[] => [...document.querySelectorAll<HTMLDetailsElement>('details.menu[open]')];

export function startMenus(): void {
  document.addEventListener('pointerdown', ({ target }) => {
    for (const menu of openMenus()) if (target instanceof Node && !menu.contains(target)) menu.open = false;
  });
  document.addEventListener('keydown', ({ key, target }) => {
    if (key !== 'Escape') return;
    for (const menu of openMenus()) {
      if (!(target instanceof Node && menu.contains(target))) continue;
      menu.open = false;
      menu.querySelector('summary')?.focus();
    }
  });
}
