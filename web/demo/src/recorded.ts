/** What the page shows where it cannot compute: pictures and numbers of a real run, which `tools/record.mjs` wrote. */

import { lossChart, residualChart } from './chart';
import { make } from './dom';

/** One thing that was recorded. Files are in the folder `recorded` beside the page. */
interface Recorded {
  readonly title: string;
  /** How it went, in the words the page had for it. */
  readonly outcome: string;
  readonly pictures: readonly RecordedPicture[];
  /** How the pictures stand: several in a row, or one, square or long. */
  readonly layout: 'tracks' | 'tracks two' | 'grid' | 'strip';
  readonly numbers?: { readonly file: string; readonly kind: 'residual' | 'loss'; readonly caption: string };
}

interface RecordedPicture {
  readonly file: string;
  readonly caption: string;
  /** What a screen reader says of it. */
  readonly label: string;
}

interface Recording {
  readonly adapter: string;
  readonly browser: string;
  readonly records: readonly Recorded[];
}

function beside(name: string): string {
  return new URL(`recorded/${name}`, document.baseURI).href;
}

/** Fills `place` with what was recorded, and shows it. */
export async function showRecorded(place: HTMLElement): Promise<void> {
  const { adapter, browser, records } = (await (await fetch(beside('recorded.json'))).json()) as Recording;
  place.replaceChildren(
    make('h2', { id: 'recorded-title' }, 'Recorded results'),
    make('p', {}, `Recorded in ${browser} on ${adapter}.`),
  );
  place.hidden = false;
  for (const record of records) place.append(await article(record));
}

async function article(record: Recorded): Promise<HTMLElement> {
  const side = record.layout.startsWith('tracks') ? '' : ` ${record.layout}`;
  const row = make('div', { class: side ? '' : record.layout });
  for (const { file, caption, label } of record.pictures) {
    const image = make('img', { class: `picture${side}`, src: beside(file), alt: label, loading: 'lazy' });
    row.append(make('figure', {}, image, make('figcaption', {}, caption)));
  }
  const all = make('article', {}, make('h3', {}, record.title), make('p', {}, record.outcome), row);
  if (record.numbers) {
    const { file, kind, caption } = record.numbers;
    const area = make('div');
    const figure = make('figure', { class: 'chart' }, make('figcaption', {}, caption), area);
    all.append(figure);
    const chart = kind === 'residual' ? residualChart(area) : lossChart(area);
    for (const name of kind === 'residual' ? ['twin', 'picard', 'anderson'] : ['loss']) chart.line(name);
    chart.readNumbers(await (await fetch(beside(file))).text());
    chart.describe(record.outcome);
  }
  return all;
}
