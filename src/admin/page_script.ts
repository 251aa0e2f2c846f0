/**
 * What the status page does in a browser: puts what comes by server-sent events in its place, and pauses when told to.
 * @module
 */

/** Stands in the page; its hash is in the page's Content-Security-Policy. Each event is a JSON object of HTML by id. */
export const SCRIPT = `
const place = (id) => document.getElementById(id);
const button = place("pause");
let source;
let seen;
function say(text) {
  if (place("connection").textContent !== text) place("connection").textContent = text;
}
function open() {
  source = new EventSource("events" + location.search);
  source.onmessage = ({ data }) => {
    for (const [id, html] of Object.entries(JSON.parse(data))) place(id).innerHTML = html;
    document.title = "edgeferry: " + place("state").firstElementChild.textContent;
    seen = new Date();
    say("Live");
  };
  source.onerror = () => {
    say("No connection" + (seen ? " since " + seen.toLocaleTimeString() : "") + "; trying again");
    // A browser gives a stream up for good when it is refused.
    if (source.readyState === EventSource.CLOSED && button.getAttribute("aria-pressed") === "false") setTimeout(open, 5000);
  };
}
button.onclick = () => {
  const pausing = button.getAttribute("aria-pressed") === "false";
  button.setAttribute("aria-pressed", String(pausing));
  if (!pausing) return open();
  source.close();
  say("Paused");
};
button.hidden = false;
open();
`;
