// Shows the document of this very server. Nothing is asked of another: the validator's badge would be.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api-docs",
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
