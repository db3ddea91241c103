import { createRoot } from "react-dom/client";
import { identityFor } from "./api/auth.js";
import { loadConfig } from "./api/config.js";
import { App } from "./ui/App.js";
import "./ui/style.css";
import { applyTheme } from "./ui/theme.js";

applyTheme();
const root = createRoot(document.getElementById("root") as HTMLElement);
try {
  const config = await loadConfig();
  const identity = identityFor(config);
  root.render(<App identity={identity} config={config} signedIn={await identity.signedIn()} />);
} catch {
  root.render(
    <p className="error fatal" role="alert">
      The assistant cannot be reached. Reload the page in a moment.
    </p>,
  );
}
