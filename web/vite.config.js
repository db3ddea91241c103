import { defineConfig } from "vite";

// `npm run dev` talks to a deployed assistant: PARLEY_URL is its address (the sandbox's by default).
const target = process.env.PARLEY_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    target: "es2022",
    // Nothing inline: the page runs under a Content-Security-Policy that allows files of its own origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": { target, changeOrigin: true },
      "/config.json": { target, changeOrigin: true },
      "/ws": { target, changeOrigin: true, ws: true },
    },
  },
});
