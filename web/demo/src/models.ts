/** The models that come with the page, and what is known of them. */

import type { InvertibleModel } from 'iresnet';
import type { About } from './about';
import { byId, make } from './dom';
import type { Engine } from './engine';
import { bytes, number, percent } from './format';

export type ModelName = 'classifier' | 'twin' | 'density';

/** What `models/make.mjs` writes of each model. */
interface Card {
  readonly file: string;
  readonly bytes: number;
  readonly configuration: string;
  readonly parameters: number;
  readonly steps: number;
  readonly test: { readonly samples: number; readonly accuracy?: number; readonly bits_per_dim?: number };
  /** Test pictures encoded and rebuilt by the native program; none where that is not possible. */
  readonly round_trip?: { readonly samples: number; readonly largest_error: number; readonly converged: number } | null;
}

const TITLES: Record<ModelName, string> = {
  classifier: 'Classifier, c = 0.9',
  twin: 'Its unconstrained twin',
  density: 'Density of pictures, 16×16',
};

/** The address of a file beside the page. */
function beside(name: string): URL {
  return new URL(`models/${name}`, document.baseURI);
}

/** Loads models when they are first wanted, once each. */
export class Models {
  readonly #loaded = new Map<ModelName, Promise<InvertibleModel>>();
  readonly #engine: Promise<Engine>;
  readonly #about: About;

  constructor(engine: Promise<Engine>, about: About) {
    this.#engine = engine;
    this.#about = about;
  }

  get(name: ModelName): Promise<InvertibleModel> {
    const found = this.#loaded.get(name);
    if (found) return found;
    const loading = this.#load(name);
    this.#loaded.set(name, loading);
    // What failed is tried again the next time.
    loading.catch(() => this.#loaded.delete(name));
    return loading;
  }

  async #load(name: ModelName): Promise<InvertibleModel> {
    // The file comes while the device is being opened.
    const [{ Model }, file] = await Promise.all([this.#engine, fetchModel(name)]);
    const begun = performance.now();
    const model = await Model.load(file);
    this.#about.timing(`${TITLES[name]} put on the device`, performance.now() - begun);
    return model;
  }
}

async function fetchModel(name: ModelName): Promise<ArrayBuffer> {
  const address = beside(`${name}.safetensors`);
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.pathname} could not be fetched: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

/** How pictures came back, natively. */
function roundTrip({ round_trip: trip }: Card): string {
  if (!trip) return 'not possible';
  const lost = trip.samples - trip.converged;
  return lost > 0
    ? `${lost} of ${trip.samples} pictures lost`
    : `${trip.samples} pictures, largest error ${number(trip.largest_error)}`;
}

/** Shows the models' table. */
export async function showModels(): Promise<void> {
  const response = await fetch(beside('models.json'));
  const cards = (await response.json()) as Record<ModelName, Card>;
  const heads = ['Model', 'Parameters', 'File', 'Training', 'On the test set', 'There and back', 'Configuration'];
  const rows = (Object.keys(TITLES) as ModelName[]).map((name) => {
    const card = cards[name];
    const { accuracy, bits_per_dim: bits, samples } = card.test;
    const result = accuracy === undefined ? `${number(bits ?? NaN)} bits per dimension` : `${percent(accuracy)} right`;
    const cells = [
      card.parameters.toLocaleString('en'),
      bytes(card.bytes),
      `${card.steps.toLocaleString('en')} steps`,
      `${result} (${samples.toLocaleString('en')} pictures)`,
      roundTrip(card),
      card.configuration,
    ];
    return make('tr', {}, make('th', { scope: 'row' }, TITLES[name]), ...cells.map((text) => make('td', {}, text)));
  });
  const head = make('tr', {}, ...heads.map((text) => make('th', { scope: 'col' }, text)));
  const caption = make('caption', {}, 'Trained on Fashion-MNIST by the native program, on two processor cores.');
  byId('models', HTMLElement).replaceChildren(
    make('table', { class: 'numbers' }, caption, make('thead', {}, head), make('tbody', {}, ...rows)),
  );
}
