import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

// `npm run dev` talks to a deployed assistant: PARLEY_URL is its address (the sandbox's by default).
const target = process.env.PARLEY_URL ?? "http://127.0.0.1:8080";

/** All that a browser loads, compressed: a phone on a slow network waits a second or two for it. */
const BUDGET_BYTES = 200 * 1024;

/** Fails a build that has grown beyond the budget. */
const budget = {
  name: "budget",
  apply: "build",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      const sizes = Object.values(bundle).map((file) => gzipSync(file.type === "chunk" ? file.code : file.source).length);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      this.info(`The page takes ${(total / 1024).toFixed(1)} KB gzipped, of ${BUDGET_BYTES / 1024} KB.`);
      if (total > BUDGET_BYTES) this.error(`The page takes ${total} bytes gzipped; at most ${BUDGET_BYTES} are allowed.`);
    },
  },
};

export default defineConfig({
  plugins: [budget],
  build: {
    target: "es2022",
    // Nothing inline: the page runs under a Content-Security-Policy that allows files of its own origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  server: {
    proxy: {
      "/api": { target, changeOrigin: true },
      "/config.json": { target, changeOrigin: true },
      "/ws": { target, changeOrigin: true, ws: true },
      "/@aws": { target, changeOrigin: true },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
