import { useSyncExternalStore } from "react";
import type { Store } from "../session/store.js";

/** What a store holds now; the component is drawn again when it changes. */
export function useStore<T extends object>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}
