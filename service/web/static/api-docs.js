"use strict";

// The validator is off: it would send the description of this API to a stranger.
window.addEventListener("DOMContentLoaded", () => {
  window.SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#api",
    validatorUrl: null,
    deepLinking: true,
    persistAuthorization: false,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: false,
  });
});
