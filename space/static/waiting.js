// The words of Gradio's queue, put into the page's own as they come: "queue: 3/4 |" is nobody's language.
{
  const ahead = place => place === 1 ? 'You are next · ' : `${place - 1} ahead of you · `;
  const put = node => {
    if (!node.parentElement?.closest('.meta-text, .meta-text-center')) return;
    const words = node.data.replace(/queue: (\d+)\/\d* \|/, (_, place) => ahead(+place)).replace('processing |', 'Working · ');
    if (words !== node.data) node.data = words;
  };
  const texts = node => {
    if (node.nodeType === Node.TEXT_NODE) return put(node);
    if (!node.querySelectorAll) return;
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) put(walker.currentNode);
  };
  new MutationObserver(changes => {
    for (const change of changes) change.type === 'characterData' ? put(change.target) : change.addedNodes.forEach(texts);
  }).observe(document, {childList: true, characterData: true, subtree: true});
}
