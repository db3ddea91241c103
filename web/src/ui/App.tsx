import { useEffect, useMemo, useState } from "react";
import { Api } from "../api/api.js";
import type { Identity } from "../api/auth.js";
import type { Config } from "../api/config.js";
import { openAudio } from "../audio/devices.js";
import { type ParleyError, sentence } from "../errors.js";
import { Assistant } from "../session/assistant.js";
import { PersonalData } from "../session/personal.js";
import { Deleting } from "./Deleting.js";
import { useStore } from "./hooks.js";
import { SignIn } from "./SignIn.js";
import { Workspace } from "./Workspace.js";

function openSocket(ticket: string): WebSocket {
  const url = new URL(`/ws?ticket=${encodeURIComponent(ticket)}`, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url);
}

const FAREWELL = "Your data is deleted. The service looks once more for anything that came in meanwhile, and deletes that too.";

/** Signs in, and then shows the assistant until the person leaves. */
export function App({ identity, config, signedIn }: { identity: Identity; config: Config; signedIn: boolean }) {
  const [inside, setInside] = useState(signedIn);
  const [reason, setReason] = useState("");
  const [farewell, setFarewell] = useState("");
  const [api, assistant, personal, signOut] = useMemo(() => {
    const api = new Api(() => identity.authorization());
    const leave = (words = "", lastWords = ""): void => {
      assistant.close();
      personal.leave();
      void identity.signOut().then(() => {
        setReason(words);
        setFarewell(lastWords);
        setInside(false);
        personal.forget();
      });
    };
    const left = (error: ParleyError): void => leave(refused || sentence(error));
    const refused = identity.fields === "api-key" ? "That API key is not valid." : "";
    const assistant = new Assistant({ api, socket: openSocket, audio: openAudio, left });
    const personal = new PersonalData({ api, left, deleted: () => leave("", FAREWELL) });
    return [api, assistant, personal, () => leave()] as const;
  }, [identity]);
  const { record } = useStore(personal.deletion.store);
  // From the first word of it on nothing new is to be written for this user.
  const deleting = record !== null;

  useEffect(() => {
    if (!inside || deleting) return;
    assistant.open();
    window.addEventListener("online", assistant.retryNow);
    const gone = (): void => assistant.call.leave();
    window.addEventListener("pagehide", gone);
    return () => {
      window.removeEventListener("pagehide", gone);
      window.removeEventListener("online", assistant.retryNow);
      assistant.close();
    };
  }, [inside, deleting, assistant]);

  if (!inside) return <SignIn identity={identity} reason={reason} farewell={farewell} enter={() => setInside(true)} />;
  if (deleting) return <Deleting deletion={personal.deletion} signOut={signOut} />;
  return (
    <Workspace
      assistant={assistant}
      personal={personal}
      config={config}
      freshLink={(documentId) => api.sourceUrl(documentId)}
      signOut={signOut}
    />
  );
}
