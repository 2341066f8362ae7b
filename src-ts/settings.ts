/** The plugin whose schema (`schema/plugin.json`) holds settings, toolbars, menus and shortcuts. */
export const PLUGIN_ID = 'nbrewind:plugin';
