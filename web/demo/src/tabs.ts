/** Tabs as the ARIA practices describe them: arrow keys, Home and End move and choose; the address keeps the choice. */

/** Makes the page's tabs work. `onShow` is called with a panel's id whenever it comes into view. */
export function setUpTabs(list: Element, onShow: (panel: string) => void): void {
  const tabs = [...list.querySelectorAll<HTMLButtonElement>('[role=tab]')];
  const panelOf = (tab: HTMLButtonElement) => tab.getAttribute('aria-controls') ?? '';

  const choose = (chosen: HTMLButtonElement) => {
    for (const tab of tabs) {
      const selected = tab === chosen;
      tab.setAttribute('aria-selected', String(selected));
      tab.tabIndex = selected ? 0 : -1;
      const panel = document.getElementById(panelOf(tab));
      if (panel) panel.hidden = !selected;
    }
    onShow(panelOf(chosen));
  };

  tabs.forEach((tab, at) => {
    tab.addEventListener('click', () => {
      history.replaceState(null, '', `#${panelOf(tab)}`);
      choose(tab);
    });
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      const target = to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
      if (!target) return;
      event.preventDefault();
      target.focus();
      target.click();
    });
  });

  const asked = tabs.find((tab) => `#${panelOf(tab)}` === location.hash);
  const first = asked ?? tabs[0];
  if (first) choose(first);
}
