import { useEffect, useRef } from "react";
import type { Call, CallState, Phase, Speaker } from "../session/call.js";
import { useStore } from "./hooks.js";
import { Icon } from "./Icon.js";

const PHASE_WORDS: Record<Phase, string> = {
  idle: "",
  starting: "Waiting for the microphone",
  connecting: "Connecting",
  live: "In a call",
  lost: "Connection lost, trying again. What you say is kept.",
  ending: "Hanging up",
};

const SPEAKER_WORDS: Record<Speaker, string> = {
  nobody: "Listening",
  user: "You are speaking",
  thinking: "Parley is thinking",
  assistant: "Parley is speaking",
};

/** The call as it goes: who speaks, how loud, and the button that mutes. */
export function CallPanel({ call }: { call: Call }) {
  const state = useStore(call.store);
  const { phase, muted } = state;
  return (
    <section className="call" aria-label="Call" data-phase={phase} data-speaker={speakerShown(state)}>
      <Meter call={call} />
      <div className="call-words">
        <p className="call-speaker">
          {speakerLine(state)}
          {speakerShown(state) === "assistant" && <span className="call-hint quiet"> · Speak to interrupt</span>}
        </p>
        <p className="call-phase quiet" role="status">
          {PHASE_WORDS[phase]}
        </p>
      </div>
      <button type="button" className="mute" aria-pressed={muted} onClick={() => call.mute(!muted)} disabled={phase === "starting"}>
        <Icon name={muted ? "muted" : "microphone"} />
        <span>Mute</span>
      </button>
    </section>
  );
}

function speakerShown({ phase, speaker }: CallState): Speaker {
  return phase === "live" || phase === "lost" ? speaker : "nobody";
}

function speakerLine(state: CallState): string {
  const { phase, speaker, muted } = state;
  if (phase === "starting") return "Allow the microphone";
  if (phase === "connecting" || phase === "ending") return "One moment";
  if (muted && speaker !== "assistant" && speaker !== "thinking") return "You are muted";
  return SPEAKER_WORDS[speaker];
}

/** Loudness is felt as its logarithm: from -50 dB, a quiet room, to -10 dB, a loud voice. */
function shownLevel(level: number): number {
  const decibels = 20 * Math.log10(Math.max(level, 1e-6));
  return Math.max(0, Math.min(1, (decibels + 50) / 40));
}

function Meter({ call }: { call: Call }) {
  const node = useRef<HTMLDivElement>(null);
  // Past React: ten changes a second concern this one element only.
  useEffect(() => {
    const draw = (): void => {
      const { user, assistant } = call.levels.get();
      node.current?.style.setProperty("--level", shownLevel(Math.max(user, assistant)).toFixed(2));
      node.current?.setAttribute("aria-valuenow", String(Math.round(100 * shownLevel(user))));
    };
    draw();
    return call.levels.subscribe(draw);
  }, [call]);
  return (
    <div className="meter" ref={node} role="meter" aria-label="Microphone level" aria-valuemin={0} aria-valuemax={100} aria-valuenow={0}>
      {[...Array(5).keys()].map((bar) => (
        <span key={bar} />
      ))}
    </div>
  );
}
