/** The page: opens the device, sets up the panels, or shows what was recorded where there is none. */

import { About } from './about';
import { byId } from './dom';
import { openEngine, type Engine } from './engine';
import { Models, showModels } from './models';
import { loadPictures } from './pictures';
import { Reconstruct } from './reconstruct';
import { showRecorded } from './recorded';
import { Sample } from './sample';
import { setUpTabs } from './tabs';
import { Train } from './train';
import { describe } from './work';

/** One of the page's panels. */
interface Panel {
  /** Does what is to be seen without being asked for. */
  begin(): void;
}

/** Tells the visitor something about the whole page. */
function notify(text: string): void {
  const notice = byId('notice', HTMLElement);
  notice.textContent = text;
  notice.hidden = false;
}

/** Says that nothing can be computed here, and shows recorded results. */
async function withoutDevice(reason: string): Promise<void> {
  notify(
    `The networks cannot run here: ${reason}. What you see below was recorded elsewhere. Live, the page runs in ` +
      'current versions of Chrome, Edge, Safari and Firefox, on most systems.',
  );
  for (const id of ['live', 'claim']) byId(id, HTMLElement).hidden = true;
  await showRecorded(byId('recorded', HTMLElement));
}

async function live(about: About): Promise<void> {
  const begun = performance.now();
  const engine: Promise<Engine> = openEngine();
  const models = new Models(engine, about);
  // The panel asks for it again, and says so if it fails.
  models.get('classifier').catch(() => {});
  const [{ runtime }, pictures] = await Promise.all([engine, loadPictures()]);
  about.timing('Module and device ready', performance.now() - begun);
  about.attach(runtime);
  runtime.addEventListener('device-lost', () => notify('The graphics device was lost; the work is repeated on a new one.'));
  runtime.addEventListener('device-restored', () => {
    byId('notice', HTMLElement).hidden = true;
  });

  byId('live', HTMLElement).hidden = false;
  // Panels are set up when they are first seen, so that no task of the page's thread takes long.
  const make: Record<string, () => Panel> = {
    reconstruct: () => new Reconstruct(models, pictures, about),
    sample: () => new Sample(models, pictures, about),
    train: () => new Train(engine, about),
  };
  const panels = new Map<string, Panel>();
  setUpTabs(byId('live', HTMLElement), (name) => {
    if (panels.has(name)) return;
    const panel = make[name]?.();
    if (!panel) return;
    panels.set(name, panel);
    panel.begin();
  });
}

async function start(): Promise<void> {
  const about = new About();
  showModels().catch((error: unknown) => console.error(error));
  try {
    await live(about);
  } catch (error) {
    console.error(error);
    about.fact('Backend', 'none');
    await withoutDevice(describe(error));
  }
}

void start();
