import { fileURLToPath } from 'node:url';
import { readdirSync } from 'node:fs';
import { defineConfig } from 'vite';
import { addressOf } from './src/ui/page.ts';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  logLevel: 'warn',
  build: {
    outDir: '../../dist/dashboard',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the page's policy allows nothing inline
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        // The groups are loaded side by side. After a release that only changes the views, browsers still have the other two in their
        // caches.
        codeSplitting: {
          groups: [
            {
              name: 'markdown',
              test: /node_modules[\\/](markdown-it|mdurl|linkify-it|uc\.micro|entities|punycode\.js|dompurify)[\\/]/,
              priority: 1,
            },
            { name: 'packages', test: /node_modules/ },
            { name: 'messages', test: /src[\\/]generated/ },
          ],
        },
      },
    },
  },
  plugins: [
    {
      name: 'addresses of the pages, for the server',
      generateBundle() {
        const files = readdirSync(new URL('src', import.meta.url), { recursive: true, encoding: 'utf8' });
        const pages = files.filter((file) => file.endsWith('.page.tsx'));
        this.emitFile({ type: 'asset', fileName: 'pages.json', source: JSON.stringify(pages.map(addressOf)) });
      },
    },
  ],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
});
