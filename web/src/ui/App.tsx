import { useEffect, useMemo, useState } from "react";
import { Api } from "../api/api.js";
import type { Identity } from "../api/auth.js";
import type { Config } from "../api/config.js";
import { openAudio } from "../audio/devices.js";
import { sentence } from "../errors.js";
import { Assistant } from "../session/assistant.js";
import { SignIn } from "./SignIn.js";
import { Workspace } from "./Workspace.js";

function openSocket(ticket: string): WebSocket {
  const url = new URL(`/ws?ticket=${encodeURIComponent(ticket)}`, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url);
}

/** Signs in, and then shows the assistant until the person leaves. */
export function App({ identity, config, signedIn }: { identity: Identity; config: Config; signedIn: boolean }) {
  const [inside, setInside] = useState(signedIn);
  const [reason, setReason] = useState("");
  const [api, assistant] = useMemo(() => {
    const api = new Api(() => identity.authorization());
    const leave = (words = ""): void => {
      void identity.signOut().then(() => {
        setReason(words);
        setInside(false);
      });
    };
    const refused = identity.fields === "api-key" ? "That API key is not valid." : "";
    const assistant = new Assistant({ api, socket: openSocket, audio: openAudio, left: (error) => leave(refused || sentence(error)) });
    return [api, Object.assign(assistant, { signOut: () => (assistant.close(), leave()) })];
  }, [identity]);

  useEffect(() => {
    if (!inside) return;
    assistant.open();
    window.addEventListener("online", assistant.retryNow);
    const gone = (): void => assistant.call.leave();
    window.addEventListener("pagehide", gone);
    return () => {
      window.removeEventListener("pagehide", gone);
      window.removeEventListener("online", assistant.retryNow);
      assistant.close();
    };
  }, [inside, assistant]);

  if (!inside) return <SignIn identity={identity} reason={reason} enter={() => setInside(true)} />;
  return (
    <Workspace
      assistant={assistant}
      config={config}
      freshLink={(documentId) => api.sourceUrl(documentId)}
      signOut={assistant.signOut}
    />
  );
}
