// Parts of a page with data-live are fetched again every two seconds; when what runs has changed, the whole page is.
const PAUSE_MS = 2000;
for (const part of document.querySelectorAll("[data-live]")) setTimeout(refresh, PAUSE_MS, part);
async function refresh(part) {
  try {
    if (!document.hidden) {
      const answer = await fetch(part.dataset.live);
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      if (answer.headers.get("X-Running") !== part.dataset.running) return location.reload();
      part.innerHTML = text;
      document.body.classList.remove("lost");
    }
  } catch {
    document.body.classList.add("lost");
  }
  setTimeout(refresh, PAUSE_MS, part);
}
