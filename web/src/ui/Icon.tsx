const PATHS = {
  menu: "M3 5h14M3 10h14M3 15h14",
  close: "M5 5l10 10M15 5L5 15",
  microphone: "M10 2.5a2.5 2.5 0 0 0-2.5 2.500v4.500a2.500 2.500 0 0 0 5 0v-4.500A2.500 2.500 0 0 0 10 2.500zM4.500 9.500a5.500 5.500 0 0 0 11 0M10 15v2.500",
  muted: "M7.500 7.500v2a2.500 2.500 0 0 0 4.200 1.800M12.500 9V5a2.500 2.500 0 0 0-4.700-1.200M4.500 9.500a5.500 5.500 0 0 0 9 4.200M15.500 9.500a5.500 5.500 0 0 1-.4 2M10 15v2.500M3 3l14 14",
  hangUp: "M1.500 11.500c4.700-5.300 12.300-5.300 17 0l-1.600 3.200-3.900-1.400v-2.600a10 10 0 0 0-6 0v2.600l-3.900 1.400z",
  send: "M10 16.500v-13M4.500 9L10 3.500 15.500 9",
  download: "M10 3v9.500M5.500 8.500L10 13l4.500-4.500M3.500 16.500h13",
  trash: "M3.500 5.500h13M8 5.500v-2h4v2M5 5.500l.8 11h8.400l.8-11M8.300 8.500v5M11.700 8.500v5",
  plus: "M10 4v12M4 10h12",
  light: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100",
  dark: "M16.500 12A7 7 0 0 1 8 3.500a7 7 0 1 0 8.500 8.500z",
  system: "M3 4h14v9.500H3zM7 17h6M10 13.500V17",
  person: "M10 3a3.300 3.300 0 1 0 0 6.600 3.300 3.300 0 0 0 0-6.600zM3.500 17c.4-3.300 3-5 6.500-5s6.100 1.700 6.500 5",
  tool: "M9 3.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM13 13l4 4",
} as const;

export type IconName = keyof typeof PATHS;

/** A picture that repeats what the words beside it, or the label of its button, say. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
