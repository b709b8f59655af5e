import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses: the page works in whatever folder a host puts it.
  base: './',
  build: {
    target: 'es2022',
    // Models and pictures are fetched when they are needed, never put into the page's own code.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // It starts a worker and fetches its module from addresses beside its own.
  optimizeDeps: { exclude: ['iresnet'] },
  worker: { format: 'es' },
});
